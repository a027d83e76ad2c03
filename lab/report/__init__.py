"""Reports: a result made readable, for people who weren't there."""
