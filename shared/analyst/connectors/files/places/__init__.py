"""Places where files lie: a folder of this host, a file system of fsspec, the web."""
