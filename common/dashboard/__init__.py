"""A page to look at: curves, figures, options, pictures and sounds of runs, in one file that needs no network."""
