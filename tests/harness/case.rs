//! The files below `programs/`: each is one test, or one for each way to compile it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One program to compare.
///
/// Its file says what it needs in comment lines at its head:
///
/// * `needs: gcc zstd`: programs without which it is skipped;
/// * `build: dynamic static musl no-pie`: how a C program is compiled, one test each;
/// * `run: busybox sh`: what runs it, before the file's name;
/// * `args: 3`: arguments; several such lines make one test each;
/// * `keep`: the scratch directory is the host's, and is compared afterwards;
/// * `options: --init`: options of `bastide run`;
/// * `stderr: any`: standard error is not compared;
/// * `seconds: 120`: how long it may take.
#[derive(Clone, Debug)]
pub struct Case {
    /// `group/name`, or `group/name/build`.
    pub name: String,
    pub file: PathBuf,
    pub needs: Vec<String>,
    pub build: Option<String>,
    pub run: Vec<String>,
    pub args: Vec<String>,
    pub keep: bool,
    pub options: Vec<String>,
    pub any_stderr: bool,
    pub limit: Duration,
}

impl Case {
    /// The first program that this case needs and this machine lacks.
    pub fn missing(&self) -> Option<&str> {
        let found = |name: &str| {
            let path = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&path).any(|dir| dir.join(name).exists())
        };
        self.needs
            .iter()
            .map(String::as_str)
            .find(|name| !found(name))
    }
}

/// Every case below `root`, sorted by name.
pub fn cases(root: &Path) -> Vec<Case> {
    let mut list = Vec::new();
    let entries = |dir: &Path| {
        let entries =
            fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    for group in entries(root).into_iter().filter(|path| path.is_dir()) {
        for file in entries(&group).into_iter().filter(|path| path.is_file()) {
            read(&group, &file, &mut list);
        }
    }
    list
}

fn read(group: &Path, file: &Path, list: &mut Vec<Case>) {
    let name = |path: &Path| {
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    let extension = file.extension().unwrap_or_default().to_string_lossy();
    let (run, needs): (&[&str], &[&str]) = match extension.as_ref() {
        "sh" => (&["bash"], &["bash"]),
        "py" => (&["/usr/bin/python3"], &["python3"]),
        "pl" => (&["perl"], &["perl"]),
        "js" => (&["node"], &["node"]),
        "c" => (&[], &["gcc"]),
        "go" => (&[], &["go"]),
        "rs" => (&[], &["rustc"]),
        "java" => (&["java"], &["java", "javac"]),
        _ => return,
    };
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let owned = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let mut case = Case {
        name: format!("{}/{}", name(group), name(file)),
        file: file.into(),
        needs: owned(needs),
        build: None,
        run: owned(run),
        args: Vec::new(),
        keep: false,
        options: Vec::new(),
        any_stderr: false,
        limit: Duration::from_secs(60),
    };
    let mut builds = if extension == "c" {
        vec!["dynamic".to_owned()]
    } else {
        Vec::new()
    };
    let mut args = Vec::new();
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let comments = text.lines().map_while(|line| {
        let line = line.trim_start_matches("#!").trim();
        let marks = ["#", "//", "/*", "*"];
        marks.iter().find_map(|mark| line.strip_prefix(mark))
    });
    for line in comments {
        let line = line.trim();
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        match key {
            "needs" => case.needs.extend(words(value)),
            "build" => builds = words(value),
            "run" => case.run = words(value),
            "args" => args.push(words(value)),
            "keep" => case.keep = true,
            "options" => case.options = words(value),
            "stderr" => case.any_stderr = value.trim() == "any",
            "seconds" => {
                let seconds = value.trim().parse();
                case.limit = Duration::from_secs(seconds.expect("seconds: a number"));
            }
            _ => {}
        }
    }
    let several = args.len() > 1;
    for args in if args.is_empty() {
        vec![Vec::new()]
    } else {
        args
    } {
        let mut case = case.clone();
        if several {
            case.name = format!("{}/{}", case.name, args.join("-"));
        }
        case.args = args;
        if builds.is_empty() {
            list.push(case);
            continue;
        }
        for build in &builds {
            let mut case = case.clone();
            case.name = format!("{}/{build}", case.name);
            if build == "musl" {
                case.needs.push("musl-gcc".into());
            }
            case.build = Some(build.clone());
            list.push(case);
        }
    }
}
