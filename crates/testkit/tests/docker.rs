//! The container engine, its images and its registry, as tests use them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use backstay_testkit::{Docker, Image, Port, Registry, WEB_PORT, eventually, http, scratch_dir};

fn compose(docker: &Docker, dir: &std::path::Path, args: &[&str]) -> Result<String, String> {
    let file = dir.join("compose.yaml").display().to_string();
    let mut all = vec!["compose", "-f", &file];
    all.extend(args);
    docker.try_run(&all).map_err(|failed| failed.output)
}

#[test]
fn docker_runs_compose_with_versions_that_can_be_told_apart() {
    let Some(docker) = Docker::require() else { return };
    let (dir, port) = (scratch_dir(), Port::take());
    let first = docker.image("web:v1", &Image::web("v1"));
    let second = docker.image("web:v2", &Image::web("v2"));
    assert_ne!(first, second);
    for (version, id) in [("v1", &first), ("v2", &second)] {
        let yaml = format!(
            "name: demo\nservices:\n  web:\n    image: web:{version}\n    ports: ['{}:{WEB_PORT}']\n    volumes: ['./data:/data']\n",
            port.address()
        );
        fs::write(dir.path().join("compose.yaml"), yaml).unwrap();
        compose(&docker, dir.path(), &["up", "-d", "--wait"]).unwrap();
        assert_eq!(http::get(&port.url()).unwrap().body, version);
        let web = docker.service("web").unwrap();
        assert_eq!((&web.image, web.state.as_str(), web.health.as_str()), (id, "running", "healthy"));
    }
    assert_eq!(fs::read_to_string(dir.path().join("data/starts")).unwrap(), "v1\nv2\n");
}

#[test]
fn docker_images_that_fail_fail_as_they_should() {
    let Some(docker) = Docker::require() else { return };
    let dir = scratch_dir();
    docker.image("web:exits", &Image::exits("exits"));
    docker.image("web:sick", &Image::unhealthy("sick"));
    for (version, state) in [("exits", "exited"), ("sick", "running")] {
        let yaml = format!(
            "name: demo\nservices:\n  web:\n    image: web:{version}\n    healthcheck: {{retries: 2}}\n"
        );
        fs::write(dir.path().join("compose.yaml"), yaml).unwrap();
        assert!(compose(&docker, dir.path(), &["up", "-d", "--wait", "--wait-timeout", "20"]).is_err());
        assert_eq!(docker.service("web").unwrap().state, state);
    }
}

#[test]
fn docker_engines_are_apart_and_survive_a_kill() {
    let Some(mut one) = Docker::require() else { return };
    let Some(two) = Docker::require() else { return };
    let id = one.image("web:v1", &Image::web("v1"));
    assert_eq!(two.run(&["images", "--quiet"]), "");
    for docker in [&one, &two] {
        docker.image("web:v1", &Image::web("v1"));
        docker.run(&["network", "create", "same"]);
        docker.run(&["run", "-d", "--name", "same", "--restart", "always", "--network", "same", "web:v1"]);
    }
    one.kill_engine();
    assert!(one.try_run(&["ps"]).is_err());
    assert_eq!(two.containers().len(), 1);
    one.start_engine();
    eventually("the container to run again", || match one.containers().first() {
        Some(container) if container.state == "running" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(two);
    assert_eq!(one.containers().len(), 1);
    assert_ne!(one.containers()[0].image, "");
    assert!(id.starts_with("sha256:"));
}

#[test]
fn docker_pulls_by_digest_until_the_registry_is_gone() {
    let Some(docker) = Docker::require() else { return };
    let Some(mut registry) = Registry::require() else { return };
    docker.image("web:v1", &Image::web("v1"));
    let pinned = registry.push(&docker, "web:v1");
    assert!(pinned.contains("@sha256:"), "{pinned}");
    docker.prune_images();
    assert_eq!(docker.run(&["images", "--quiet"]), "");
    docker.run(&["pull", "--quiet", &pinned]);
    docker.run(&["create", "--name", "holder", &pinned]);
    docker.prune_images();
    assert_ne!(docker.run(&["images", "--quiet"]), "", "a created container holds its image");
    registry.stop();
    docker.run(&["rm", "holder"]);
    docker.prune_images();
    assert!(docker.try_run(&["pull", "--quiet", &pinned]).is_err());
    registry.start();
    docker.run(&["pull", "--quiet", &pinned]);
}

#[test]
fn docker_runs_a_postgresql_of_our_own_image() {
    let Some(docker) = Docker::require() else { return };
    if docker.postgres_image("db:16").is_none() {
        return;
    }
    docker.run(&["network", "create", "inner"]);
    let start =
        ["run", "-d", "--name", "db", "--network", "inner", "--stop-signal", "SIGINT", "-v", "kept:/data"];
    let ask = |sql: &str| {
        eventually("the server to answer", || {
            docker.try_run(&["exec", "db", "psql", "-tAc", sql]).map_err(|failed| failed.to_string())
        })
    };
    docker.run(&[&start[..], &["db:16"]].concat());
    ask("create table if not exists t as select 42 as n");
    docker.run(&["stop", "db"]);
    assert_eq!(
        docker.run(&["inspect", "-f", "{{.State.ExitCode}}", "db"]),
        "0",
        "it ends when it is told to"
    );
    docker.run(&["rm", "db"]);
    docker.run(&[&start[..], &["db:16"]].concat());
    assert_eq!(ask("select n from t"), "42");
    assert!(docker.run(&["exec", "db", "pg_dump", "-t", "t"]).contains("42"));
}
