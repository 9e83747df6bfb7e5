# make -j4 with twenty compilations, dependencies and a rebuild.
# needs: gcc make
# seconds: 240
for i in $(seq 20); do echo "int f$i(void) { return $i; }" > f$i.c; done
{ for i in $(seq 20); do echo "int f$i(void);"; done; echo '#include <stdio.h>
int main(void) { printf("%d\n", 0'; for i in $(seq 20); do echo "+ f$i()"; done; echo '); return 0; }'; } > main.c
cat > Makefile <<'END'
OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))
program: $(OBJECTS)
	@echo linking $(words $(OBJECTS)) objects
	@$(CC) -o $@ $(OBJECTS)
%.o: %.c
	@$(CC) -c -o $@ $<
clean: ; @rm -f program *.o
.PHONY: clean
END
make -j4 && ./program
make -j4
sleep 0.05; touch f7.c; make -n | wc -l; make -j4 --output-sync && ./program
make clean; ls *.o 2>/dev/null | wc -l
echo 'broken: ; @echo before; exit 3' >> Makefile; make broken 2>&1 | sed 's/^make\[*[0-9]*\]*/make/'; echo "${PIPESTATUS[0]}"
