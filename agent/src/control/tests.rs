use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::PathBuf;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use super::{Answer, Client, ControlError, ENDING, Fate, Incumbent, POLL, Request, Server, Singleton, ask};

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run/control.sock");
    (directory, path)
}

async fn serve_one(server: &Server) {
    let client = server.accept().await.unwrap();
    client.serve(async |request| serde_json::json!({ "asked": request })).await;
}

#[tokio::test]
async fn a_request_is_answered() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    let asking = tokio::task::spawn_blocking(move || ask(&path, &Request::Status));
    serve_one(&server).await;
    let answer = asking.await.unwrap().unwrap();
    assert_eq!(answer, serde_json::json!({ "asked": { "command": "status" } }));
}

#[tokio::test]
async fn an_unknown_request_is_answered_with_an_error() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    let asking = tokio::task::spawn_blocking(move || {
        let mut stream = StdStream::connect(&path).unwrap();
        stream.write_all(b"{\"command\":\"dance\"}\n").unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    });
    serve_one(&server).await;
    assert!(asking.await.unwrap().contains("bad request: unknown variant `dance`"));
}

#[tokio::test]
async fn the_file_is_removed_with_the_server_and_the_file_of_a_dead_agent_is_replaced() {
    let (_directory, path) = scratch();
    drop(Server::open(&path).await.unwrap());
    assert!(!path.exists());
    drop(StdListener::bind(&path).unwrap());
    assert!(path.exists(), "a listener that is dropped leaves its file");
    drop(Server::open(&path).await.unwrap());
}

#[tokio::test]
async fn an_agent_that_ends_leaves_the_file_of_another_agent_alone() {
    let (_directory, path) = scratch();
    let first = Server::open(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let second = Server::open(&path).await.unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_socket_whose_file_was_removed_is_created_again() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    fs::remove_file(&path).unwrap();
    let appears = async {
        while !path.exists() {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = appears => {}
        _ = server.accept() => panic!("there is no client"),
    }
    drop(server);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_running_agent_is_not_replaced() {
    let (_directory, path) = scratch();
    let _server = Server::open(&path).await.unwrap();
    assert!(matches!(Server::open(&path).await, Err(ControlError::SocketTaken(_))));
}

#[tokio::test]
async fn a_successor_answers_on_the_socket_that_its_predecessor_left() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    let left = server.leave().unwrap();
    drop(server);
    let asking = {
        let path = path.clone();
        tokio::task::spawn_blocking(move || ask(&path, &Request::Status))
    };
    let successor = Server::inherit(left, &path).unwrap();
    serve_one(&successor).await;
    asking.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_socket_whose_file_is_gone_is_not_inherited() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    let left = server.leave().unwrap();
    fs::remove_file(&path).unwrap();
    assert!(Server::inherit(left, &path).is_none());
}

#[tokio::test]
async fn a_predecessor_learns_whether_its_successor_runs() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    for relieves in [true, false] {
        let path = path.clone();
        let asking = tokio::task::spawn_blocking(move || {
            let mut incumbent = Incumbent::ask(&path, None).unwrap();
            if relieves { incumbent.relieve().unwrap() } else { drop(incumbent) }
        });
        let client = server.accept().await.unwrap();
        let answer = async |_| Answer::Succession { accepted: true };
        let successor = client.serve(answer).await.unwrap().into_successor();
        assert_eq!(successor.comes_up().await.is_ok(), relieves);
        asking.await.unwrap();
    }
}

#[tokio::test]
async fn a_successor_learns_whether_its_predecessor_still_waits() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    let singleton = Singleton::claim(ENDING).unwrap();
    let asking = tokio::task::spawn_blocking(move || {
        let incumbent = Incumbent::ask(&path, None).unwrap();
        assert!(incumbent.receive().is_some());
        incumbent
    });
    let client = server.accept().await.unwrap();
    let answer = async |_| Answer::Succession { accepted: true };
    let successor = client.serve(answer).await.unwrap().into_successor();
    successor.pass(&singleton).unwrap();
    let mut incumbent = asking.await.unwrap();
    assert_eq!(incumbent.fate(), Fate::Waits);
    drop(successor);
    // The process has not ended, so the predecessor has continued.
    assert_eq!(incumbent.fate(), Fate::Revoked);
    assert!(incumbent.relieve().is_err());
}

#[tokio::test]
async fn a_client_whose_agent_ends_before_it_answers_gets_an_error_that_says_what_happened_and_what_to_do() {
    let (_directory, path) = scratch();
    let server = Server::open(&path).await.unwrap();
    // The agent ends before it has read anything, which resets the connection, or in the middle of its answer.
    for begun in [None, Some("{\"started\":")] {
        let path = path.clone();
        let asking = tokio::task::spawn_blocking(move || ask(&path, &Request::Reload));
        let Client(mut stream) = server.accept().await.unwrap();
        if let Some(begun) = begun {
            let mut line = String::new();
            tokio::io::BufReader::new(&mut stream).read_line(&mut line).await.unwrap();
            stream.write_all(begun.as_bytes()).await.unwrap();
        }
        drop(stream);
        let error = asking.await.unwrap().unwrap_err();
        assert!(matches!(error, ControlError::HungUp(_)), "{error}");
        let error = error.to_string();
        assert!(error.contains("leaving its roles") && error.contains("try again"), "{error}");
    }
}

#[test]
fn the_error_names_the_socket_if_no_agent_answers() {
    let (_directory, path) = scratch();
    let error = ask(&path, &Request::Status).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}
