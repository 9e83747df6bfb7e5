# Works on the merged tree of layers.sh, in the present directory, and shows it before and after.
LC_ALL=C
export LC_ALL
show() {
	echo "== $1"
	find . -mindepth 1 | sort | while read -r f; do
		case $(stat -c %F "$f") in
			directory) echo "$f/ $(stat -c "%a %h" "$f")" ;;
			symbolic\ link) echo "$f -> $(readlink "$f")" ;;
			*) echo "$f $(stat -c %a "$f"): $(cat "$f")" ;;
		esac
	done
}
tries() { "$@" 2> /dev/null || echo "no: $*"; }
show "as it is"
tries ls removed gone d/x middle
tries getfattr --absolute-names --only-values -n user.note bottom d
tries getfattr --only-values -n trusted.overlay.opaque opaque
getfattr -m - -d opaque

echo more >> bottom
echo more >> d/z
echo more >> d/y
chmod 600 d/w
echo new > removed
mkdir gone
echo new > gone/new
tries rmdir d/deep
rm -r d/deep only
rm all
show "changed"

mkdir only d/deep
rm again opaque/own
rm opaque/top
rmdir opaque
mkdir opaque
mv dir-then-file d/moved
mv file-then-dir renamed
ln d/w hard
mv -T gone again
tries mknod w c 0 0
show "changed again"
tries rm -r d dir-file-dir
show "with less"
