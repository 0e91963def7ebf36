"""Real is blue and fake vermilion throughout (Okabe and Ito 2008), which every kind of colour vision tells
apart.
"""

COLORS = ("#0072B2", "#D55E00")  # of REAL and FAKE
INK, PALE = "#333333", "#BBBBBB"
