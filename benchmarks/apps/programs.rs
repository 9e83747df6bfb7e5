//! Programs that end by themselves. Where they write, they write in memory.

use crate::context::{Context, benchmarks};
use crate::job::{Job, Row, Unit};
use crate::process::run;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A piece of shell, run in a directory of its own; `$1` is 1 for quick, else 0.
struct Program {
    name: &'static str,
    needs: &'static [&'static str],
    script: &'static str,
    /// What lies in its directory.
    files: fn(&Path) -> std::io::Result<()>,
    /// Whether it says itself how many milliseconds it took, without its start.
    says: bool,
    at_most: Option<f64>,
}

const PROGRAMS: [Program; 7] = [
    Program {
        name: "sqlite",
        needs: &["sqlite3"],
        script: "db=/dev/shm/bastide-$$.db; trap 'rm -f $db' EXIT
            [ $1 = 1 ] && sed -i s/100000/1000/ speed.sql
            sqlite3 $db <speed.sql",
        files: sql,
        says: false,
        at_most: Some(1.05),
    },
    Program {
        name: "bash-200-true",
        needs: &["bash"],
        script: "n=200; [ $1 = 1 ] && n=5; for ((i = 0; i < n; i++)); do /bin/true; done",
        files: |_| Ok(()),
        says: false,
        at_most: Some(1.3),
    },
    Program {
        name: "tar",
        needs: &["tar"],
        script: "tar=/dev/shm/bastide-$$.tar; trap 'rm -f $tar' EXIT; tar cf $tar tree",
        files: tree,
        says: false,
        at_most: None,
    },
    Program {
        name: "gcc",
        needs: &["gcc"],
        script: "gcc -O2 -c -o /dev/null part0.c",
        files: sources,
        says: false,
        at_most: None,
    },
    Program {
        name: "make-j2",
        needs: &["make", "gcc"],
        script: "d=/dev/shm/bastide-$$; trap 'rm -rf $d' EXIT
            mkdir $d; cp Makefile *.c $d; make -s -j2 -C $d",
        files: sources,
        says: false,
        at_most: Some(1.3),
    },
    Program {
        name: "python-compute",
        needs: &["python3"],
        script: "exec python3 compute.py $1",
        files: |dir| copy("compute.py", dir),
        says: true,
        at_most: Some(1.05),
    },
    Program {
        name: "node-compute",
        needs: &["node"],
        script: "exec node compute.js $1",
        files: |dir| copy("compute.js", dir),
        says: true,
        at_most: Some(1.05),
    },
];

pub fn jobs() -> Vec<Job> {
    PROGRAMS.iter().map(job).collect()
}

fn job(program: &'static Program) -> Job {
    let mut row = Row::new(format!("apps/{}", program.name), Unit::Milliseconds);
    if let Some(ratio) = program.at_most {
        row = row.at_most(ratio);
    }
    let job = Job::new(program.name, vec![row], move |context, side| {
        let dir = context.dir(&format!("{}-{}", program.name, side.name()))?;
        (program.files)(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let (context, side) = (context.clone(), side.clone());
        Ok(Box::new(move || {
            let mut command = side.command("/bin/bash", &dir);
            command.args(["-c", program.script, program.name]);
            command.arg(quick(&context));
            let (took, said) = run(command, Some(&side))?;
            if !program.says {
                return Ok(vec![Some(took.as_secs_f64() * 1000.0)]);
            }
            let figure = said.trim().parse();
            Ok(vec![Some(figure.map_err(|_| format!("it said {said:?}"))?)])
        }))
    });
    job.needs(program.needs).with_memory()
}

pub fn quick(context: &Context) -> &'static str {
    context.amount("0", "1")
}

fn copy(name: &str, dir: &Path) -> std::io::Result<()> {
    fs::copy(benchmarks().join("apps").join(name), dir.join(name)).map(drop)
}

/// `speed.sql`, with many transactions of one row at its end.
pub fn sql(dir: &Path) -> std::io::Result<()> {
    let mut text = include_str!("speed.sql").to_owned();
    for number in 0..300 {
        let _ = writeln!(text, "INSERT INTO log VALUES ('transaction {number}');");
    }
    fs::write(dir.join("speed.sql"), text)
}

/// Forty directories of thirty small files.
fn tree(dir: &Path) -> std::io::Result<()> {
    for folder in 0..40 {
        let folder_path = dir.join(format!("tree/folder{folder}"));
        fs::create_dir_all(&folder_path)?;
        for file in 0..30 {
            let text = "a line of a file\n".repeat(1 + (folder * 30 + file) * 7 % 900);
            fs::write(folder_path.join(format!("file{file}")), text)?;
        }
    }
    Ok(())
}

/// Eight C files with some functions each, and a Makefile.
fn sources(dir: &Path) -> std::io::Result<()> {
    const FILES: usize = 8;
    for file in 0..FILES {
        let mut text = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n".to_owned();
        for function in 0..30 {
            let _ = write!(
                text,
                "int part{file}_{function}(const char *s, int n) {{\n\
                 \tchar b[64]; int sum = {function};\n\
                 \tfor (int i = 0; i < n; i++) sum = sum * 31 + s[i % (strlen(s) + 1)];\n\
                 \tsnprintf(b, sizeof b, \"%d %s\", sum, s); return sum + atoi(b) + b[sum & 63];\n}}\n"
            );
        }
        if file == 0 {
            text += "int main(void) { return part0_0(\"\", 0); }\n";
        }
        fs::write(dir.join(format!("part{file}.c")), text)?;
    }
    let objects: Vec<_> = (0..FILES).map(|file| format!("part{file}.o")).collect();
    let makefile = format!(
        "CFLAGS = -O1\nall: {0}\n\t$(CC) -o all {0}\n",
        objects.join(" ")
    );
    fs::write(dir.join("Makefile"), makefile)
}
