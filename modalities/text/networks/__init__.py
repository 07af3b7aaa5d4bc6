"""Networks of the text CVAE."""
