"""Arithmetic on images that every layer may use: colour spaces and compositing (`colour.py`), comparison (`compare.py`);
and the array of the four views (`views.py`)."""
