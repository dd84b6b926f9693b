//! Nothing: the library that is wanted is built because this depends on it.
