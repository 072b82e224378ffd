"""The report of `edgecnn data audit`: model, findings, document and JSON."""
