"""Documents as text: parsers of file formats, and the splitting of text into chunks."""
