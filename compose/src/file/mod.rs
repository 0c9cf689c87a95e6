//! Files to a project: find, read, interpolate, include, merge, check, resolve.
