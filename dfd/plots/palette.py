"""Colours of all figures: real is blue, fake vermilion, for the colour-blind too (Okabe and Ito 2008)."""

COLORS = ("#0072B2", "#D55E00")  # of REAL and FAKE
INK, PALE = "#333333", "#BBBBBB"
