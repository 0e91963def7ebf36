"""Tools that look at the pixels: copies, resampling, splices, median filters, the colour filter array."""
