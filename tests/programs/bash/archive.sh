# tar, gzip, zstd and xz there and back, for a tree of 2,000 files.
# needs: tar gzip zstd
# keep
# seconds: 180
for i in $(seq 0 39); do
	mkdir -p tree/d$i/sub
	for j in $(seq 0 48); do
		echo "file $i $j" > tree/d$i/f$j
	done
	seq $((i * 100)) > tree/d$i/sub/numbers
	ln -s ../f1 tree/d$i/sub/link
done
ln tree/d0/f0 tree/d1/hard; chmod 600 tree/d2/f2; mkdir tree/empty; head -c 300000 /dev/zero > tree/zeros
find tree -type f | wc -l
sums() { (cd "$1" && find . -type f -exec md5sum {} + | sort | md5sum; find . -printf '%p %y %m %l\n' | sort | md5sum); }
sums tree
tar cf plain.tar tree && tar tf plain.tar | wc -l
tar czf a.tar.gz tree && mkdir gz && tar xzf a.tar.gz -C gz && sums gz/tree
tar cf - tree | zstd -q -T2 > a.tar.zst && mkdir zs && zstd -dc a.tar.zst | tar xf - -C zs && sums zs/tree
tar cJf a.tar.xz tree/d1 && mkdir xz && tar xJf a.tar.xz -C xz && ls xz/tree/d1 | wc -l
diff -r tree gz/tree && diff -r tree zs/tree && echo equal
gzip -k plain.tar && gunzip -c plain.tar.gz | cmp - plain.tar && echo gzip
tar --delete -f plain.tar tree/d3 && tar tf plain.tar | wc -l
cp -a tree copy && sums copy && rm -rf copy gz zs xz *.tar* a.*
find tree -name 'f1?' -delete; find tree -type f | wc -l
rm -rf tree
