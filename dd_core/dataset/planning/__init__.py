"""What is planned in place of what is declared: graphs, hidden columns and rounds."""
