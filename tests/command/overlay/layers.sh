# Three trees as the layers of a container image: 3 is at the bottom.
set -e
mkdir -p 1/d 1/opaque 1/dir-file-dir 2/d 2/opaque 2/file-then-dir 3/d/deep/er 3/opaque 3/gone
mkdir -p 3/dir-then-file 3/dir-file-dir 3/only
for f in all middle bottom removed again file-then-dir d/x d/y d/z d/deep/f d/deep/er/f opaque/hidden; do
	echo "3 $f" > 3/$f
done
for f in gone/hidden dir-then-file/hidden dir-file-dir/hidden only/f; do echo "3 $f" > 3/$f; done
for f in all middle d/y opaque/own dir-then-file dir-file-dir file-then-dir/own; do echo "2 $f" > 2/$f; done
for f in all again d/w opaque/top dir-file-dir/own; do echo "1 $f" > 1/$f; done
ln -s ../bottom 3/d/link
ln 3/bottom 3/d/hard
chmod 750 2/d
chmod 700 1/d
chmod 4711 3/d/z
for f in removed again gone d/x; do mknod 2/$f c 0 0; done
mknod 1/middle c 0 0
setfattr -n trusted.overlay.opaque -v y 2/opaque
setfattr -n user.note -v three 3/bottom 3/d
