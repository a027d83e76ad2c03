"""A result as HTML: the report page and the notebook output."""
