# find over the host's files, sorted and summed; xargs; the result must be the same to the byte.
# seconds: 120
find /usr/share/doc /etc -xdev \( -path /etc/mtab -o -path /etc/resolv.conf \) -prune -o -print 2>/dev/null | sort | md5sum
find /usr/include -name '*.h' -size +10k -printf '%f %s %m %n\n' | sort | md5sum
find /usr/bin -type l -printf '%f -> %l\n' | sort | md5sum
find /usr/lib/python3 -type f -name '*.py' -print0 | xargs -0 cat | md5sum
find /usr/share/zoneinfo -type f -exec md5sum {} + | sort | md5sum
find / -xdev -maxdepth 1 -type d -name '[a-z]*' ! -name proc ! -name sys ! -name dev ! -name tmp ! -name work | sort
ls -lR --time-style=+%s /usr/share/perl 2>/dev/null | md5sum
du -s --apparent-size -b /usr/share/perl /usr/include
stat -L -c '%n %s %a %u %g %h %F %Y' /usr/bin/env /bin /etc/passwd /usr/lib
