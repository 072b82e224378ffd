"""`edgecnn check`: a candidate against its baseline on the same images, with a verdict for CI."""
