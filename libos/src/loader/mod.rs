//! Programs: ELF files and scripts, and the stack they start with.
