//! Container images without a container engine: Debian packages as the base, buildah for the rest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::run;
use crate::progress;
use crate::tools::{GoProgram, cached};

/// The image of the operator in the test cluster.
pub const OPERATOR: &str = "orderpipeline/operator:dev";
/// The image of the order services in the test cluster.
pub const ORDERS: &str = "orderpipeline/orders:dev";
/// The first process of every pod.
pub const PAUSE: &str = "devcluster/pause:1";
/// The cluster's name server.
pub const COREDNS: &str = "devcluster/coredns:1";

/// What our binaries link against, and what TLS and time zones need: the content of the images' default base.
const BASE_PACKAGES: &str = "ca-certificates,libc6,libgcc-s1,libssl3,netbase,tzdata,zlib1g";
const BASE_SUITE: &str = "bookworm";
const BASE_DOCKERFILE: &str = "FROM scratch\nADD base.tar /\n";
const PAUSE_DOCKERFILE: &str = "FROM scratch\nCOPY pause /pause\nUSER 65532:65532\nENTRYPOINT [\"/pause\"]\n";
const COREDNS_DOCKERFILE: &str =
    "FROM scratch\nCOPY coredns /coredns\nUSER 65532:65532\nENTRYPOINT [\"/coredns\"]\n";

/// An image of this project: its name, its Dockerfile in the checkout, and the program it carries.
#[derive(Clone, Copy, Debug)]
pub struct Application {
    /// Name and tag.
    pub image: &'static str,
    /// The program's file name.
    pub program: &'static str,
    dockerfile: &'static str,
}

/// All images of this project.
pub const APPLICATIONS: [Application; 2] = [
    Application { image: OPERATOR, program: "operator", dockerfile: "operator/Dockerfile" },
    Application { image: ORDERS, program: "orders", dockerfile: "services/Dockerfile" },
];

/// The archive of the pause image.
///
/// # Errors
/// When Go or buildah fails.
pub fn pause() -> Result<PathBuf> {
    let program = GoProgram {
        name: "pause",
        files: &[("main.go", include_str!("../pause/main.go")), ("go.mod", include_str!("../pause/go.mod"))],
        ldflags: "-s -w",
        description: "building the pause container",
    }
    .build()?;
    of_program(PAUSE, &program, PAUSE_DOCKERFILE)
}

/// The archive of the CoreDNS image.
///
/// # Errors
/// When Go or buildah fails.
pub fn coredns() -> Result<PathBuf> {
    let program = GoProgram {
        name: "coredns",
        files: &[
            ("main.go", include_str!("../coredns/main.go")),
            ("go.mod", include_str!("../coredns/go.mod")),
            ("go.sum", include_str!("../coredns/go.sum")),
        ],
        ldflags: "-s -w",
        description: "building CoreDNS from its Go module (about 2 minutes, once)",
    }
    .build()?;
    of_program(COREDNS, &program, COREDNS_DOCKERFILE)
}

/// An image with nothing but a static program, from the cache when it is there.
fn of_program(image: &str, program: &Path, dockerfile: &str) -> Result<PathBuf> {
    let folder = program.parent().context("a program without a folder")?;
    let inputs = [folder.as_os_str().as_encoded_bytes(), image.as_bytes(), dockerfile.as_bytes()];
    let name = image.split([':', '/']).nth(1).unwrap_or(image);
    let entry = cached(&format!("image-{name}"), &inputs, |entry| {
        let file = entry.join("Dockerfile");
        fs::write(&file, dockerfile)?;
        let build = Build { image, dockerfile: &file, context: folder, base: None };
        build.archive(&entry.join("storage"), &entry.join("image.tar"))?;
        Ok(fs::remove_dir_all(entry.join("storage"))?)
    })?;
    Ok(entry.join("image.tar"))
}

/// The archive of a Debian base in which our binaries run.
fn base() -> Result<PathBuf> {
    let inputs = [BASE_PACKAGES, BASE_SUITE, BASE_DOCKERFILE].map(str::as_bytes);
    let entry = cached("image-base", &inputs, |entry| {
        progress::step("making the images' base from Debian packages", || {
            let context = entry.join("context");
            fs::create_dir(&context)?;
            let mut debootstrap = Command::new("mmdebstrap");
            debootstrap.args(["--variant=extract", &format!("--include={BASE_PACKAGES}"), BASE_SUITE]);
            run("make the base image (package mmdebstrap)", with_arg(debootstrap, context.join("base.tar")))?;
            fs::write(context.join("Dockerfile"), BASE_DOCKERFILE)?;
            let file = context.join("Dockerfile");
            let image = "devcluster/base:1";
            let build = Build { image, dockerfile: &file, context: &context, base: None };
            build.archive(&entry.join("storage"), &entry.join("image.tar"))?;
            fs::remove_dir_all(entry.join("storage"))?;
            Ok(fs::remove_dir_all(&context)?)
        })
    })?;
    Ok(entry.join("image.tar"))
}

/// Tells whether an image is still the one that [`build`] would make.
///
/// # Errors
/// When the binary or the Dockerfile is missing.
pub fn stamp(application: Application, binary: &Path, checkout: &Path) -> Result<String> {
    let metadata = fs::metadata(binary).with_context(|| format!("{} is not built", binary.display()))?;
    let dockerfile = checkout.join(application.dockerfile);
    let text =
        fs::read_to_string(&dockerfile).with_context(|| format!("cannot read {}", dockerfile.display()))?;
    Ok(format!("{} {:?}\n{BASE_PACKAGES}\n{text}", metadata.len(), metadata.modified()?))
}

/// Builds the image of `application` with `binary` in it, and returns its archive in `folder`.
///
/// # Errors
/// When the binary or the Dockerfile is missing, or buildah fails.
pub fn build(application: Application, binary: &Path, checkout: &Path, folder: &Path) -> Result<PathBuf> {
    let base = base()?;
    let context = context(application, binary, folder)?;
    let archive = folder.join(format!("{}.tar", application.program));
    let build = Build {
        image: application.image,
        dockerfile: &checkout.join(application.dockerfile),
        context: &context,
        base: Some(&base),
    };
    let storage = folder.join("storage");
    let built = build.archive(&storage, &archive);
    // Layers are copied whole (vfs) and never used again.
    drop(fs::remove_dir_all(&storage));
    drop(fs::remove_dir_all(&context));
    built.map(|()| archive)
}

/// The command that builds the image of `application` with Docker. The program is compiled in it: one of this machine
/// may ask for a newer C library than the image has.
pub fn docker_build(application: Application, checkout: &Path) -> Command {
    let mut build = Command::new("docker");
    build.args(["buildx", "build", "--load", "--tag", application.image, "--file"]);
    build.arg(checkout.join(application.dockerfile));
    with_arg(build, checkout)
}

/// A folder with nothing but the binary: an image builder copies its whole context.
fn context(application: Application, binary: &Path, folder: &Path) -> Result<PathBuf> {
    ensure!(binary.is_file(), "{} is not built; run `cargo build --bins`", binary.display());
    let context = folder.join(application.program);
    fs::create_dir_all(&context).with_context(|| format!("cannot create {}", context.display()))?;
    strip(binary, &context.join(application.program))?;
    Ok(context)
}

/// Copies a program without its debug information, which is most of a development build's size.
fn strip(binary: &Path, copy: &Path) -> Result<()> {
    let mut command = Command::new("strip");
    command.arg("--strip-debug").arg("-o").arg(copy);
    run("strip a program (package binutils)", with_arg(command, binary)).map(drop)
}

/// One run of buildah.
struct Build<'a> {
    image: &'a str,
    dockerfile: &'a Path,
    context: &'a Path,
    base: Option<&'a Path>,
}

impl Build<'_> {
    /// Builds the image with its layers in `storage`, and writes it to the file `archive`.
    fn archive(&self, storage: &Path, archive: &Path) -> Result<()> {
        let mut build = buildah(storage);
        build
            .args(["bud", "--quiet", "--isolation", "chroot", "--tag", self.image, "--file"])
            .arg(self.dockerfile);
        // Stands for the Dockerfile's stage `build`, which would compile the program again.
        build.arg("--build-context").arg(format!("build={}", self.context.display()));
        if let Some(base) = self.base {
            build.arg("--build-arg").arg(format!("BASE=oci-archive:{}", base.display()));
        }
        run(&format!("build the image {} (package buildah)", self.image), with_arg(build, self.context))?;
        let mut push = buildah(storage);
        // It goes to a container runtime on the same machine: compressing costs more than it saves.
        push.args(["push", "--quiet", "--disable-compression", self.image]);
        // Kubernetes completes short names in this way, and asks the runtime for the complete one.
        let target = format!("oci-archive:{}:docker.io/{}", archive.display(), self.image);
        run(&format!("write the image {}", self.image), with_arg(push, target)).map(drop)
    }
}

/// Layers are plain folders (vfs): works on every file system, and leaves no mount behind.
fn buildah(storage: &Path) -> Command {
    let mut command = Command::new("buildah");
    command.arg("--root").arg(storage).arg("--runroot").arg(storage.join("run"));
    command.args(["--storage-driver", "vfs"]);
    command
}

fn with_arg(mut command: Command, argument: impl AsRef<std::ffi::OsStr>) -> Command {
    command.arg(argument);
    command
}
