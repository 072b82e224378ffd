"""What `edgecnn data audit` found: model, findings, text, markdown and json."""
