//! `countersign-attacks`: shows that each attack of `tests/attacks` can succeed. It takes the
//! check that refuses it out of a copy of the source, builds that, and runs the attack there.
#![forbid(unsafe_code)]

use clap::Parser;
use countersign_tests::attacks::{self, Attack, Weaken};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

const AFTER: &str = "\
Run it in the repository. The copy and its build directory are target/attacks; the source is not
touched. Attacks with the same check share a build; one takes about a quarter of a minute on two cores,
the first some minutes.

Exit codes: 0 each attack succeeded without its check; 1 one did not, so its test proves nothing;
2 wrong usage, or the copy could not be made or built.";

/// Take each attack's check out, and see the attack succeed.
#[derive(Parser)]
#[command(name = "countersign-attacks", version, after_help = AFTER)]
struct Args {
    /// The attacks to try [default: all]
    names: Vec<String>,
    /// Say what each attack is, and do nothing
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            eprintln!("countersign-attacks: {e}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool, String> {
    let mut all = attacks::read()?;
    if let Some(unknown) = args.names.iter().find(|n| !all.contains_key(*n)) {
        return Err(format!(
            "no attack {unknown:?}; --list says which there are"
        ));
    }
    all.retain(|name, _| args.names.is_empty() || args.names.contains(name));
    if args.list {
        for (name, attack) in &all {
            println!(
                "{name} ({}): holds {}; gains {}; refused as {}",
                attack.family, attack.holds, attack.gains, attack.expect
            );
        }
        return Ok(true);
    }
    let copy = Copy::make()?;
    let mut groups: BTreeMap<(bool, Vec<Weaken>), Vec<String>> = BTreeMap::new();
    for (name, Attack { script, weaken, .. }) in &all {
        groups
            .entry((*script, weaken.clone()))
            .or_default()
            .push(name.clone());
    }
    let (mut done, mut failed) = (0, Vec::new());
    for ((script, weaken), names) in &groups {
        let start = Instant::now();
        let ok = copy.weakened(weaken, || copy.succeed(*script, names))?;
        done += names.len();
        let said = if ok {
            "succeed without their check"
        } else {
            "DO NOT SUCCEED"
        };
        println!(
            "[{done}/{}] {}: {said} ({:.0} s)",
            all.len(),
            names.join(", "),
            start.elapsed().as_secs_f64()
        );
        if !ok {
            failed.extend(names.iter().cloned());
        }
    }
    println!(
        "{} attacks succeed without their check, {} do not",
        done - failed.len(),
        failed.len()
    );
    Ok(failed.is_empty())
}

/// A copy of the source, to be weakened.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Brings the copy up to date; what has not changed keeps its time, and is not built again.
    fn make() -> Result<Self, String> {
        let root = attacks::corpus();
        let root = root.ancestors().nth(2).unwrap_or(Path::new("."));
        let base = root.join("target/attacks");
        let listed = Command::new("git")
            .args([
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ])
            .current_dir(root)
            .output()
            .map_err(|e| format!("git ls-files: {e}"))?;
        let listed = String::from_utf8(listed.stdout).map_err(|e| e.to_string())?;
        let copy = Self {
            tree: base.join("tree"),
            target: base.join("target"),
        };
        for name in listed.split_terminator('\0') {
            let Ok(bytes) = std::fs::read(root.join(name)) else {
                continue; // Deleted, and not yet committed so.
            };
            copy.write(name, &bytes)?;
        }
        Ok(copy)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let path = self.tree.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let said = |e: std::io::Error| format!("{}: {e}", path.display());
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .map_err(said)?;
        std::fs::write(&path, bytes).map_err(said)
    }

    /// Does `what` while the checks are out.
    fn weakened(
        &self,
        weaken: &[Weaken],
        what: impl FnOnce() -> Result<bool, String>,
    ) -> Result<bool, String> {
        let mut kept = BTreeMap::new();
        let mut put = |file: &str, change: &dyn Fn(&str) -> Result<String, String>| {
            let path = self.tree.join(file);
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{file}: {e}"))?;
            self.write(file, change(&text)?.as_bytes())?;
            kept.entry(file.to_owned()).or_insert(text);
            Ok::<(), String>(())
        };
        for one in weaken {
            match one {
                Weaken::Step { without } => {
                    // What `--cfg without` does, for this copy: the client's macro, and its flags.
                    put("client/src/lib.rs", &|text| {
                        let kept = "cfg!(not(without = $name))";
                        Ok(text.replace(kept, &format!("{kept} && $name != \"{without}\"")))
                    })?;
                    for file in ["verify", "view", "signed"] {
                        put(&format!("client/src/{file}.rs"), &|text| {
                            let flag = format!("cfg!(without = \"{without}\")");
                            let not = format!("cfg!(not(without = \"{without}\"))");
                            Ok(text.replace(&flag, "true").replace(&not, "false"))
                        })?;
                    }
                }
                Weaken::Text {
                    file,
                    find,
                    replace,
                } => put(file, &|text| {
                    if text.matches(find.as_str()).count() == 1 {
                        Ok(text.replacen(find, replace, 1))
                    } else {
                        Err(format!("{find:?} does not stand once in {file}"))
                    }
                })?,
            }
        }
        let done = what();
        for (file, text) in kept {
            self.write(&file, text.as_bytes())?;
        }
        done
    }

    fn succeed(&self, script: bool, names: &[String]) -> Result<bool, String> {
        let cargo = |args: &[&str]| {
            let mut command = Command::new("cargo");
            command.args(args).current_dir(&self.tree);
            command.env("CARGO_TARGET_DIR", &self.target);
            command
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env("CARGO_PROFILE_TEST_DEBUG", "0");
            command.env("RUSTFLAGS", "-A warnings");
            command.env("COUNTERSIGN_ATTACKS_SUCCEED", names.join(","));
            command
        };
        let package = if script {
            "countersign-tests"
        } else {
            "countersign"
        };
        let mut builds = vec![vec![
            "test", "--locked", "--quiet", "-p", package, "--test", "attacks", "--no-run",
        ]];
        if script {
            builds.push(vec![
                "build",
                "--locked",
                "--quiet",
                "-p",
                "countersign",
                "-p",
                "countersign-server",
                "--bins",
            ]);
        }
        for build in builds {
            let status = cargo(&build).status().map_err(|e| format!("cargo: {e}"))?;
            if !status.success() {
                return Err(format!(
                    "{}: the weakened source does not build",
                    names.join(", ")
                ));
            }
        }
        let test = if script {
            "every_attack_is_refused"
        } else {
            "bundles_that_lie_are_refused"
        };
        let run = [
            "test", "--locked", "--quiet", "-p", package, "--test", "attacks", "--", "--exact",
            test,
        ];
        let output = cargo(&run)
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cargo: {e}"))?;
        if !output.status.success() {
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
        Ok(output.status.success())
    }
}
