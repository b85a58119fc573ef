"""One reader a file: each turns one label format into `FileDataset`."""
