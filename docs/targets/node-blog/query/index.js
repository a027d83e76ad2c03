// What readers see: posts with their comments, put together from events.
const { serve, get } = require('../web');

const posts = {};

const apply = ({ type, data }) => {
  if (type === 'PostCreated') posts[data.id] = { id: data.id, title: data.title, comments: [] };
  const comments = posts[data.postId]?.comments;
  if (type === 'CommentCreated' && comments) {
    comments.push({ id: data.id, content: data.content, status: data.status });
  }
  if (type === 'CommentUpdated' && comments) {
    const comment = comments.find((one) => one.id === data.id);
    if (comment) comment.status = data.status;
  }
};

const catchUp = async () => {
  try {
    for (const event of await get('http://localhost:4005/events')) apply(event);
  } catch (error) {
    console.log(`nothing to catch up with: ${error.message}`);
  }
};

serve(
  process.env.PORT || 4002,
  {
    'GET /posts': () => [200, posts],
    'POST /events': ({ body }) => {
      apply(body);
      return [200, {}];
    },
  },
  catchUp,
);
