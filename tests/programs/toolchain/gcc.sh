# gcc compiles and links a program of several files, with a library, and the program runs.
# needs: gcc
# seconds: 180
mkdir src; cd src
cat > main.c <<'END'
#include <math.h>
#include <stdio.h>
#include "part.h"
int main(int argc, char **argv) { printf("%s %d %.3f %d\n", NAME, part(argc), sqrt(2), again(3)); return part(2); }
END
cat > part.h <<'END'
int part(int); int again(int);
END
echo '#include "part.h"
int part(int x) { return x * 7; }' > part.c
echo '#include "part.h"
int again(int x) { return x ? x + again(x - 1) : 0; }' > again.c
gcc -O2 -Wall -c main.c -DNAME='"program"' && gcc -O2 -c part.c again.c
ar rcs libpart.a part.o again.o
gcc -o one main.o -L. -lpart -lm && ./one; echo $?
gcc -shared -fPIC -o libshared.so part.c again.c && gcc -o two main.o -L. -lshared -lm -Wl,-rpath,. && ./two x; echo $?
gcc -static -O3 -pipe -DNAME='"static"' -o three *.c -lm && ./three; echo $?
gcc -E -dM - < /dev/null | grep -c __x86_64__
echo 'int main(void) { return x; }' > bad.c; gcc bad.c 2>&1 | grep -c error; echo "${PIPESTATUS[0]}"
gcc -S -O1 part.c && grep -c ret part.s; nm libpart.a | grep ' T '; size one > /dev/null && echo size; strip one && ./one > /dev/null; echo $?
