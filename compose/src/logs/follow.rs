//! Log files of containers as sources of lines, and waiting for more.
