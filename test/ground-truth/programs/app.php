<?php
// What php-fpm runs: each path asks by another of PHP's clients. SETTINGS, in JSON, is a parameter of the request.
//
//   /mysqli/N  /pdo/N  /redis/N  /curl/N  /multi/N  /streams/N  /sockets/N  /large/N  /echo

$settings = json_decode($_SERVER['SETTINGS'], true);
[, $kind, $number] = explode('/', $_SERVER['DOCUMENT_URI']) + [2 => '0'];
$number = (int) $number;
$upstream = "http://127.0.0.1:{$settings['upstream']}";
$account = $settings['mysql'];

function ask_by_mysqli(array $account, int $number): string
{
    // Every second one is a connection that outlives the request.
    $host = ($number % 2 ? 'p:' : '') . '127.0.0.1';
    $connection = new mysqli($host, $account['user'], $account['password'], $account['database'], $account['port']);
    $rows = $connection->query('SELECT id, REPEAT(name, ' . ($number * 7 % 300) . ') AS n FROM trees')->fetch_all();
    $statement = $connection->prepare('SELECT name FROM trees WHERE id = ?');
    $id = $number % 3 + 1;
    $statement->bind_param('i', $id);
    $statement->execute();
    return json_encode([$rows, $statement->get_result()->fetch_all()]);
}

function ask_by_pdo(array $account, int $number): string
{
    $name = "mysql:unix_socket={$account['socket']};dbname={$account['database']}";
    $connection = new PDO($name, $account['user'], $account['password'], [PDO::ATTR_EMULATE_PREPARES => false]);
    $connection->beginTransaction();
    $statement = $connection->prepare('SELECT REPEAT(name, :count) AS n FROM trees ORDER BY id');
    $statement->execute(['count' => $number * 11 % 400]);
    $rows = $statement->fetchAll(PDO::FETCH_ASSOC);
    $connection->commit();
    return json_encode($rows);
}

function ask_by_redis(array $settings, int $number): string
{
    $redis = new Redis();
    $number % 2 ? $redis->pconnect('127.0.0.1', $settings['redis']) : $redis->connect('127.0.0.1', $settings['redis']);
    $redis->set("key:$number", str_repeat('v', $number * 100));
    return json_encode($redis->multi(Redis::PIPELINE)->get("key:$number")->incr('count')->exec());
}

function ask_by_curl(string $upstream, int $number): string
{
    $curl = curl_init("$upstream/curl/$number");
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_POSTFIELDS => str_repeat('c', $number * 211)]);
    $first = curl_exec($curl);
    curl_setopt_array($curl, [CURLOPT_HTTPGET => true, CURLOPT_URL => "$upstream/again/$number"]);
    return $first . curl_exec($curl);
}

function ask_by_multi(string $upstream, int $number): string
{
    $multi = curl_multi_init();
    $transfers = [];
    foreach (range(1, 3) as $part) {
        $transfers[] = $curl = curl_init("$upstream/multi/$number/$part");
        curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
        curl_multi_add_handle($multi, $curl);
    }
    do {
        $status = curl_multi_exec($multi, $active);
        if ($active) {
            curl_multi_select($multi);
        }
    } while ($active && $status === CURLM_OK);
    return implode('', array_map(curl_multi_getcontent(...), $transfers));
}

function ask_by_streams(array $settings, string $upstream, int $number): string
{
    $stream = stream_socket_client("tcp://127.0.0.1:{$settings['redis']}");
    fwrite($stream, "*2\r\n$4\r\nECHO\r\n$6\r\nstream\r\n");
    $answer = fread($stream, 12);
    fclose($stream);
    return $answer . file_get_contents("$upstream/streams/$number");
}

function ask_by_sockets(array $settings, int $number): string
{
    $socket = socket_create(AF_INET, SOCK_STREAM, SOL_TCP);
    socket_connect($socket, '127.0.0.1', $settings['redis']);
    $text = str_repeat('s', $number + 1);
    $command = "*2\r\n$4\r\nECHO\r\n$" . strlen($text) . "\r\n$text\r\n";
    socket_write($socket, substr($command, 0, 10));
    socket_send($socket, substr($command, 10), strlen($command) - 10, 0);
    socket_recv($socket, $answer, 5, MSG_PEEK);
    $whole = '';
    while (!str_ends_with($whole, "$text\r\n")) {
        $whole .= socket_read($socket, 1000);
    }
    socket_close($socket);
    return $whole;
}

$answer = match ($kind) {
    'mysqli' => ask_by_mysqli($account, $number),
    'pdo' => ask_by_pdo($account, $number),
    'redis' => ask_by_redis($settings, $number),
    'curl' => ask_by_curl($upstream, $number),
    'multi' => ask_by_multi($upstream, $number),
    'streams' => ask_by_streams($settings, $upstream, $number),
    'sockets' => ask_by_sockets($settings, $number),
    'large' => str_repeat("large $number\n", 20000),
    default => file_get_contents('php://input'),
};
header('Content-Length: ' . strlen($answer));
echo $answer;
