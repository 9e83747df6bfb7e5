//! bastide-outer
