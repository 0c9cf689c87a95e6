//! Messages about files, with their places.
