//! The data folder of a server: who owns it, and how it is made.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User};
use rand::Rng;
use rand::distr::Alphanumeric;

use super::{ADMIN_USER, Durability, PostgresOptions};
use crate::pki::Tls;
use crate::process::{Launcher, run};
use crate::tempdir::TempDir;
use crate::tools::cached;

/// About 140 bits.
const PASSWORD_LENGTH: usize = 24;
/// PostgreSQL refuses to run as root; the first of these that exists runs it then.
const UNPRIVILEGED_USERS: [&str; 2] = ["postgres", "nobody"];
/// Enlarged when the way a prepared folder is made changes.
const LAYOUT: &[u8] = b"1";

/// When this process is root: as a user that PostgreSQL accepts, who is given the folder `dir`.
pub(super) fn as_unprivileged(launcher: Launcher, dir: &Path) -> Result<Launcher> {
    fs::create_dir_all(dir).with_context(|| format!("could not create {}", dir.display()))?;
    fs::set_permissions(dir, Permissions::from_mode(0o700))?;
    if !Uid::effective().is_root() {
        return Ok(launcher);
    }
    let user = UNPRIVILEGED_USERS.iter().find_map(|name| User::from_name(name).ok().flatten());
    let user = user.context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")?;
    if let Some(closed) = closed_parent(dir) {
        bail!(
            "PostgreSQL runs as the user {} and cannot reach {}: nobody but root may enter {}",
            user.name,
            dir.display(),
            closed.display()
        );
    }
    chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    Ok(launcher.as_user(user.uid.as_raw(), user.gid.as_raw()))
}

/// The first folder above `dir` that other users may not pass through.
fn closed_parent(dir: &Path) -> Option<&Path> {
    dir.ancestors().skip(1).find(|parent| fs::metadata(parent).is_ok_and(|parent| parent.mode() & 0o001 == 0))
}

/// Where a server that may have to run as another user can keep its data: `preferred` if such a user can reach it,
/// else a folder of the system made for this one path, which the caller has to remove in the end.
pub fn reachable_dir(preferred: &Path) -> PathBuf {
    if !Uid::effective().is_root() || closed_parent(preferred).is_none() {
        return preferred.to_owned();
    }
    let components = preferred.components().filter_map(|component| component.as_os_str().to_str());
    let name: Vec<&str> = components.filter(|component| *component != "/").collect();
    Path::new("/var/tmp").join(format!("devcluster-{}", name.join("-")))
}

/// What makes the server speak TLS. It refuses a key that others can read, and may not be able to read ours: so it gets
/// copies of its own, each time it starts.
pub(super) fn tls_arguments(dir: &Path, tls: &Tls) -> Result<Vec<String>> {
    let owner = fs::metadata(dir)?;
    let mut arguments = vec!["-c".to_owned(), "ssl=on".to_owned()];
    for (setting, from) in [("ssl_cert_file", &tls.certificate), ("ssl_key_file", &tls.key)] {
        let copy = dir.join(setting);
        let text = fs::read(from).with_context(|| format!("could not read {}", from.display()))?;
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&copy)?;
        file.write_all(&text)?;
        chown(&copy, Some(owner.uid()), Some(owner.gid()))?;
        arguments.extend(["-c".to_owned(), format!("{setting}={}", copy.display())]);
    }
    Ok(arguments)
}

/// Creates the server's data unless it is there, and returns the administrator's password.
pub(super) fn initialize(options: &PostgresOptions, launcher: &Launcher, programs: &Path) -> Result<String> {
    let files = Files::of(&options.dir);
    if files.finished.exists() {
        return files.read_password();
    }
    if files.data.exists() {
        // Begun by a run that was killed.
        fs::remove_dir_all(&files.data)?;
    }
    match options.durability {
        Durability::Full => create(&files, launcher, programs)?,
        Durability::CrashOfServerOnly => Files::of(&template(programs)?).copy_to(&files)?,
    }
    fs::write(&files.finished, "")?;
    files.read_password()
}

/// What lies in the folder of a server.
struct Files {
    data: PathBuf,
    password: PathBuf,
    finished: PathBuf,
}

impl Files {
    fn of(dir: &Path) -> Self {
        Self { data: dir.join("data"), password: dir.join("password"), finished: dir.join("created") }
    }

    fn read_password(&self) -> Result<String> {
        fs::read_to_string(&self.password)
            .with_context(|| format!("could not read {}", self.password.display()))
    }

    /// Owners and permissions included; within one file system that can do it, without copying the contents.
    fn copy_to(&self, target: &Self) -> Result<()> {
        for (from, to) in [(&self.data, &target.data), (&self.password, &target.password)] {
            // Dies with this process: the next run may remove a half copy at once.
            let mut command = Launcher::host().command("cp");
            command.args(["-a", "--reflink=auto", "--"]).arg(from).arg(to);
            run("copy the data of a PostgreSQL server", command)?;
        }
        Ok(())
    }
}

/// The folder of a server that has never run, in the user's cache: copying it takes a tenth of the time of making
/// one. The password is part of it, so that all servers of a user that are made for tests share one.
fn template(programs: &Path) -> Result<PathBuf> {
    let version = run("ask for the version of PostgreSQL", {
        let mut command = Command::new(programs.join("postgres"));
        command.arg("--version");
        command
    })?;
    let inputs = [programs.as_os_str().as_encoded_bytes(), version.as_bytes(), LAYOUT];
    cached("postgres-prepared", &inputs, |entry| {
        // Made outside: the other user cannot reach this user's cache.
        let dir = TempDir::new()?;
        let folder = dir.path().join("postgres");
        let launcher = as_unprivileged(Launcher::host(), &folder)?;
        create(&Files::of(&folder), &launcher, programs)?;
        Files::of(&folder).copy_to(&Files::of(entry))
    })
}

fn create(files: &Files, launcher: &Launcher, programs: &Path) -> Result<()> {
    let password: String =
        rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&files.password)?;
    file.write_all(password.as_bytes())?;
    let owner = fs::metadata(files.password.parent().context("a password outside of any folder")?)?;
    chown(&files.password, Some(owner.uid()), Some(owner.gid()))?;

    let mut command = launcher.command(programs.join("initdb"));
    command.arg("-D").arg(&files.data).args(["-U", ADMIN_USER, "--encoding=UTF8", "--locale=C"]);
    command.args(["--auth=scram-sha-256", "--no-instructions"]).arg("--pwfile").arg(&files.password);
    // initdb looks at the current folder, which the other user may not be allowed to.
    command.current_dir("/").env_remove("PGDATA");
    run("create a PostgreSQL server", command)?;
    allow_remote_clients(&files.data)
}

/// Pods come from other addresses than loopback, the only ones that initdb lets in. Passwords stay required.
fn allow_remote_clients(data: &Path) -> Result<()> {
    let mut file = OpenOptions::new().append(true).open(data.join("pg_hba.conf"))?;
    Ok(file.write_all(b"host all all all scram-sha-256\n")?)
}
