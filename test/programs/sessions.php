<?php
// What php-fpm runs for php-sessions.test.ts; settings.json beside it says who is asked.
//
//   /redis/N       a session of PHP in Redis, and a visit to tree N       /memcached/N  the same with the session in memcached
//
// The visit is on a connection to Redis that outlives the request. REGRESSION=value visits another tree, REGRESSION=write
// writes another visit.

$at = json_decode(file_get_contents(__DIR__ . '/settings.json'), true);
[, $store, $number] = explode('/', $_SERVER['DOCUMENT_URI']);
ini_set('session.save_handler', $store);
ini_set('session.save_path', $store === 'redis' ? "tcp://127.0.0.1:{$at['redis']}" : "127.0.0.1:{$at['memcached']}");
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
$_SESSION['last'] = time();

$regression = getenv('REGRESSION');
$redis = new Redis();
$redis->pconnect('127.0.0.1', $at['redis']);
$tree = $redis->get('tree:' . ((int) $number + ($regression === 'value' ? 1 : 0)));
$visit = ['id' => uniqid('visit_', true), 'tree' => $tree, 'by' => $regression === 'write' ? 'nobody' : 'koala'];
$redis->rPush('visits', json_encode($visit));
session_write_close();

header('Content-Type: application/json');
$body = json_encode(['tree' => $tree, 'visits' => $_SESSION['visits']]);
header('Content-Length: ' . strlen($body));
echo $body;
