//! Holds nothing: the guests are the examples.
