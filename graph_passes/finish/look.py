"""Numbers of how maps are drawn, which pictures in Python and in exported files share."""

# Parts of the longer side that blur is wide (its sigma): of a region, of a pixel.
REGION, PIXEL = 45, 224
# A narrower blur than this is left out; where the colours of single elements end without it, and
# with it: percentiles of the magnitudes.
LEAST_BLUR = 0.5
END_OF_ELEMENTS, END_OF_REGIONS = 99, 99.5
# Parts of a cell that blur between cells is wide.
BETWEEN = 0.45
# Second differences of what is drawn between cells, of the largest value; the least cell; and the
# least part of positions without a bend.
STRAIGHT, LEAST_CELL, LEAST_STRAIGHT = 1e-4, 3.0, 0.4
# Stripes of the negative side: their period in pixels, from which level on, and how pale they are.
STRIPES, STRIPED, PALE = 6, 0.15, 0.55
# From which level on evidence is inside the contour, and how much of the ground a contour covers.
CONTOUR, LINE = 0.5, 0.4
# A contour of more than this part of the picture's pixels is a scribble.
SCRIBBLE = 0.02
# The ground under two hues: this, and a part of its gray.
GROUND, OF_GRAY = 102, 0.6
# The colours' levels, from the lowest to the highest.
LEVELS = 2001
# What a picture is fitted into, (width, height).
WITHIN = 580, 640
