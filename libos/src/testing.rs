//! A mock platform for unit tests.
