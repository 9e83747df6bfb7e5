//! Event objects: futexes, eventfd, signalfd, timerfd, epoll, poll, inotify.
