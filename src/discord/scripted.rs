//! A server in the tests that says exactly what it is told to.
