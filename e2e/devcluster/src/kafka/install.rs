//! Kafka's jars, a formatted data folder and an archive of loaded classes, all in the user's cache.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rand::Rng;
use rand::distr::Alphanumeric;

use super::{ADMIN_USER, KafkaOptions, NodePorts, START_TIMEOUT, STOP_GRACE, Tuning, config};
use crate::java::Java;
use crate::process::{Launcher, Spec, run};
use crate::progress;
use crate::tools::{cached, which};

const POM: &str = include_str!("../../kafka/pom.xml");
const LOGGING: &str = include_str!("../../kafka/log4j2.properties");
/// Kafka 4 runs on it and on later ones.
pub(crate) const JAVA_VERSION: u32 = 17;
/// About 140 bits.
const PASSWORD_LENGTH: usize = 24;
/// Enlarged when the way a prepared folder is made changes.
const LAYOUT: &[u8] = b"2";

/// Everything that a broker is started from.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    pub(super) java: Java,
    jars: PathBuf,
    prepared: PathBuf,
}

impl Installation {
    /// Finds it in the cache, or fetches and prepares it: about half a minute, once.
    pub(super) fn get() -> Result<Self> {
        let java = Java::find(JAVA_VERSION)?;
        let jars =
            cached("kafka", &[POM.as_bytes()], |folder| progress::step("fetching Kafka", || fetch(folder)))?;
        let java_version = format!("{} {}", java.program.display(), java.full_version);
        let inputs =
            [jars.as_os_str().as_encoded_bytes(), java_version.as_bytes(), LOGGING.as_bytes(), LAYOUT];
        let prepared = cached("kafka-prepared", &inputs, |folder| {
            let installation = Self { java: java.clone(), jars: jars.clone(), prepared: folder.to_owned() };
            progress::step("preparing a Kafka broker", || installation.prepare())
        })?;
        Ok(Self { java, jars, prepared })
    }

    /// The password of the administrator: one per user of the machine, because it is part of the formatted folder.
    pub(super) fn admin_password(&self) -> Result<String> {
        let file = self.prepared.join("admin-password");
        fs::read_to_string(&file).with_context(|| format!("could not read {}", file.display()))
    }

    /// The options of the JVM up to the main class.
    pub(super) fn java_options(&self, tuning: Tuning) -> Vec<String> {
        let archive = self.prepared.join("classes.archive");
        let mut options: Vec<String> = match tuning {
            // The serial collector and the first compiler tier: the least memory and the least work at the start.
            Tuning::QuickStart => ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xms64m", "-Xmx320m"],
            // Kafka's own choice of collector (kafka-run-class.sh).
            Tuning::Throughput => ["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Xms1g", "-Xmx1g"],
        }
        .map(str::to_owned)
        .to_vec();
        // The archive holds objects for the serial collector; another collector would warn and go without.
        if tuning == Tuning::QuickStart && archive.exists() {
            options.push(self.java.use_archive(&archive));
            // Java 25 warns, at every start, of the few adapters in the archive that it has to make anew.
            options.extend(["-Xlog:disable", "-Xlog:all=error:stderr"].map(str::to_owned));
        }
        options.extend(self.common_options());
        options
    }

    fn common_options(&self) -> Vec<String> {
        let logging = self.prepared.join("log4j2.properties");
        vec![format!("-Dlog4j2.configurationFile={}", logging.display()), "-cp".to_owned(), self.classpath()]
    }

    /// Every jar by name and in order: an archive is only used with the very class path it was recorded with.
    fn classpath(&self) -> String {
        let jars = fs::read_dir(self.jars.join("libs")).into_iter().flatten().flatten();
        let mut jars: Vec<String> = jars.map(|jar| jar.path().display().to_string()).collect();
        jars.sort();
        jars.join(":")
    }

    /// Makes `data` the data folder of a new node.
    pub(super) fn copy_template(&self, data: &Path, node_id: usize, cluster_id: &str) -> Result<()> {
        fs::create_dir_all(data).with_context(|| format!("could not create {}", data.display()))?;
        let checkpoint = "bootstrap.checkpoint";
        fs::copy(self.prepared.join("template").join(checkpoint), data.join(checkpoint))
            .context("could not copy the formatted data folder")?;
        // The rest of what formatting writes; each folder has an id of its own.
        let directory_id = config::random_uuid();
        let meta =
            format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\ndirectory.id={directory_id}\n");
        Ok(fs::write(data.join("meta.properties"), meta)?)
    }

    fn prepare(&self) -> Result<()> {
        fs::write(self.prepared.join("log4j2.properties"), LOGGING)?;
        let password: String =
            rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
        write_private(&self.prepared.join("admin-password"), &password)?;
        self.format_template(&password)?;
        self.record_archive()
    }

    fn format_template(&self, password: &str) -> Result<()> {
        let template = self.prepared.join("template");
        let properties = self.prepared.join("format.properties");
        let options = self.training_options()?;
        fs::write(&properties, config::render(1, &template, &options))?;
        // From a file, because everybody can read the arguments of a process.
        let arguments = self.prepared.join("format.arguments");
        let scram = format!("SCRAM-SHA-512=[name={ADMIN_USER},password={password}]");
        let words =
            ["format", "--cluster-id", &config::random_uuid(), "--config", &properties.display().to_string()]
                .join("\n");
        write_private(&arguments, &format!("{words}\n--add-scram\n{scram}\n"))?;
        let mut command = Command::new(&self.java.program);
        command.args(self.java_options(Tuning::QuickStart)).arg("kafka.tools.StorageTool");
        command.arg(format!("@{}", arguments.display()));
        let formatted = run("format a Kafka data folder", command);
        fs::remove_file(&arguments)?;
        formatted.map(drop)
    }

    /// Runs a broker once and keeps the classes it loaded: the next ones start in a third of the time.
    fn record_archive(&self) -> Result<()> {
        let options = self.training_options()?;
        let data = self.prepared.join("training");
        self.copy_template(&data, 1, &config::random_uuid())?;
        let properties = self.prepared.join("training.properties");
        fs::write(&properties, config::render(1, &data, &options))?;
        let archive = self.java.record_archive(&self.prepared.join("classes.archive"));
        let spec =
            Spec::new("the first Kafka broker", &self.java.program, self.prepared.join("training.log"))
                .args(self.java_options(Tuning::QuickStart))
                .arg(archive)
                .arg("kafka.Kafka")
                .arg(&properties);
        let mut broker = Launcher::host().spawn(spec)?;
        let port = options.nodes.first().context("a cluster without nodes")?.plaintext;
        broker.wait_for_port(port, START_TIMEOUT)?;
        // The archive is written on the way down. Without it everything works, only slower.
        broker.stop(START_TIMEOUT.max(STOP_GRACE));
        fs::remove_dir_all(&data)?;
        Ok(())
    }

    fn training_options(&self) -> Result<KafkaOptions> {
        let bind = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Ok(KafkaOptions {
            dir: self.prepared.clone(),
            launcher: Launcher::host(),
            bind,
            nodes: vec![NodePorts::free(bind)?],
            tuning: Tuning::QuickStart,
        })
    }
}

fn fetch(folder: &Path) -> Result<()> {
    let Some(maven) = which("mvn") else {
        bail!("Kafka is fetched with Maven, which is not installed; Debian: apt-get install maven");
    };
    let pom = folder.join("pom.xml");
    fs::write(&pom, POM)?;
    let mut command = Command::new(maven);
    command.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]).arg(&pom);
    command.arg(format!("-DoutputDirectory={}", folder.join("libs").display()));
    run("fetch Kafka from Maven Central", command).map(drop)
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}
