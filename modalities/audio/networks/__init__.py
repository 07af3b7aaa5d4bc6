"""Networks and the prior of the audio CVAE."""
