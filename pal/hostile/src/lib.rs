//! bastide-hostile
