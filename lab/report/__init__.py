"""Reports: a result as terminal tables, charts, HTML and Markdown."""
