# git: init, commits, branches, merge, clone, log, gc.
# needs: git
# keep
# seconds: 180
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org
export GIT_AUTHOR_DATE='2001-01-01T00:00:00Z' GIT_COMMITTER_DATE='2001-01-01T00:00:00Z' GIT_CONFIG_NOSYSTEM=1
git config --global init.defaultBranch main; git config --global gc.auto 0
git init -q one; cd one
for i in $(seq 20); do mkdir -p dir$i; seq $i 200 > dir$i/file; done
git add . && git commit -qm first && git log --oneline
git checkout -q -b topic; echo changed > dir1/file; git commit -qam topic
git checkout -q main; git rm -q dir2/file; git mv dir3/file dir3/moved; echo new > new; git add new; git commit -qm second
git merge -q -m merge topic; git log --graph --format='%h %s' | cat
git status --short; git diff --stat HEAD~2 HEAD | tail -3; git show --stat --format=%s HEAD~1 | tail -2
cd ..; git clone -q one two && cd two && git log --format='%h %an %s' && git fsck 2>&1 | tail -1
echo more >> new; git commit -qam third; git push -q origin main:pushed; cd ../one; git branch; git gc -q && git count-objects -v | grep -E '^(in-pack|packs)'
git archive HEAD | tar tf - | wc -l; git stash list; git tag v1; git describe; git bundle create -q ../bundle HEAD 2>/dev/null; git rev-parse HEAD
git clone -q --bare . ../bare.git && git -C ../bare.git log --oneline | wc -l; git grep -c '^200$' | wc -l; git blame new | cut -d' ' -f1
cd ..; rm -rf one two bare.git bundle .gitconfig
