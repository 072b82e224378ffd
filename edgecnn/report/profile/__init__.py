"""The report of `edgecnn profile`: document, findings, texts of a layer, and the picture."""
