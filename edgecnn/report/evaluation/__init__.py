"""The report of `edgecnn evaluate`: model, document, warnings, and the confusion matrix as a picture."""
