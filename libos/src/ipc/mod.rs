//! System V and POSIX inter-process communication, and pipes.
