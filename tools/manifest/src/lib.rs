//! bastide-manifest
