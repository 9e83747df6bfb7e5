//! bastide-pal-linux
