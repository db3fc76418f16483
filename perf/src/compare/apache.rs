//! The Apache broker: its jars from Maven Central, and the command lines that start it.
//!
//! Owns what a JVM of version 17 needs to run it. Nothing of it is kept in this repository: Maven fetches the artifacts by
//! name and version into the build directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::say;
use super::workloads::Flush;

/// What the JVM must open for RocketMQ 4.x and 5.x: they reach into buffers and internals.
const OPENS: [&str; 4] = [
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
];

/// One version's jars.
pub struct Apache {
    pub version: String,
    jars: PathBuf,
}

impl Apache {
    /// Fetches the jars, unless they are there.
    ///
    /// # Errors
    /// Maven is missing or fails.
    pub fn fetch(version: &str) -> Result<Apache, String> {
        let jars = PathBuf::from("target/compare-jars").join(version);
        let marker = jars.join("complete");
        if !marker.exists() {
            say(&format!("fetching the Apache broker {version} with Maven"));
            std::fs::create_dir_all(&jars).map_err(|error| format!("{} cannot be made: {error}", jars.display()))?;
            let pom = jars.join("pom.xml");
            std::fs::write(&pom, pom_text(version)).map_err(|error| format!("{}: {error}", pom.display()))?;
            let status = Command::new("mvn")
                .args(["-B", "-q", "-f"])
                .arg(&pom)
                .args([
                    "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies",
                    "-DincludeScope=runtime",
                    "-DoutputDirectory=.",
                ])
                .status()
                .map_err(|error| format!("mvn cannot be started ({error}); install Maven or use --without-apache"))?;
            if !status.success() {
                return Err(format!(
                    "mvn could not fetch the Apache broker {version} ({status}); or use --without-apache"
                ));
            }
            std::fs::write(&marker, "").map_err(|error| format!("{}: {error}", marker.display()))?;
        }
        let jars = jars.canonicalize().map_err(|error| format!("{}: {error}", jars.display()))?;
        Ok(Apache { version: version.to_owned(), jars })
    }

    fn java(&self, home: &Path, heap: &str, main: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-server", "-XX:+UseG1GC", "-XX:-OmitStackTraceInFastThrow"])
            .args(OPENS)
            .args([format!("-Xms{heap}"), format!("-Xmx{heap}"), format!("-XX:MaxDirectMemorySize={heap}")])
            .arg(format!("-Duser.home={}", home.display()))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(main)
            .env("ROCKETMQ_HOME", home);
        command
    }

    /// The name server on `port`.
    ///
    /// # Errors
    /// Its configuration cannot be written.
    pub fn namesrv(&self, home: &Path, port: u16) -> Result<Command, String> {
        let conf = home.join("namesrv.conf");
        write(&conf, &format!("listenPort={port}\nkvConfigPath={}/kvConfig.json\n", home.display()))?;
        let mut command = self.java(home, "256m", "org.apache.rocketmq.namesrv.NamesrvStartup");
        command.arg("-c").arg(conf);
        Ok(command)
    }

    /// The broker on `port`, registered at the name server on `namesrv`.
    ///
    /// # Errors
    /// Its configuration cannot be written.
    pub fn broker(&self, home: &Path, port: u16, namesrv: u16, flush: Flush, heap: &str) -> Result<Command, String> {
        let flush = match flush {
            Flush::Async => "ASYNC_FLUSH",
            Flush::Sync => "SYNC_FLUSH",
        };
        let conf = home.join("broker.conf");
        let ha = port + 10;
        let text = format!(
            "brokerName=apache\nbrokerId=0\nbrokerIP1=127.0.0.1\nlistenPort={port}\nhaListenPort={ha}\n\
             namesrvAddr=127.0.0.1:{namesrv}\nstorePathRootDir={home}/store\nstorePathCommitLog={home}/store/commitlog\n\
             brokerRole=ASYNC_MASTER\nflushDiskType={flush}\nfileReservedTime=72\ndiskMaxUsedSpaceRatio=95\n\
             mappedFileSizeCommitLog=268435456\nautoCreateTopicEnable=true\n",
            home = home.display()
        );
        write(&conf, &text)?;
        let mut command = self.java(home, heap, "org.apache.rocketmq.broker.BrokerStartup");
        command.arg("-c").arg(conf);
        Ok(command)
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

fn pom_text(version: &str) -> String {
    let dependency = |artifact: &str| {
        format!(
            "<dependency><groupId>org.apache.rocketmq</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>ringmq</groupId><artifactId>compare</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{}{}</dependencies></project>\n",
        dependency("rocketmq-broker"),
        dependency("rocketmq-namesrv")
    )
}
